"""Knowledge points of seeds: `extract` finds them, `merge` gives each of them one name."""
