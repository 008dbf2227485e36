"""The figures of a report as data."""

from collections import Counter

from linksyn_gpu.report.figures import MAX_NAMES, cell_maps, kept_by


def cell(discipline, difficulty, asked=10, delivered=8):
    return {
        **{"discipline": discipline, "difficulty": difficulty, "asked": asked, "delivered": delivered},
        **{"own_share": 0.5, "license_group": None, "qa": None, "judged_level": 3.5},
    }


def test_each_cell_has_its_place_in_the_heat_maps_and_equal_numbers_equal_colours():
    cells = [cell("law", 1, 10, 8), cell("law", 3), cell("physics", 3, 20, 0)]
    maps = {found.name: found for found in cell_maps(cells)}
    assert set(maps) == {"cells-asked", "cells-kept", "cells-own", "cells-judged"}
    asked = maps["cells-asked"]
    assert (sorted(asked.y), asked.x) == (["law", "physics"], ["1", "3"])
    values = dict(zip(asked.y, asked.values, strict=True))
    assert (values["law"], values["physics"]) == ([10, 10], [None, 20])
    assert asked.span == maps["cells-kept"].span == (0.0, 20.0)
    assert list(asked.rows())[1:] == [(y, x, v) for y in asked.y for x, v in zip(asked.x, values[y], strict=True) if v]


def test_of_many_disciplines_the_largest_are_drawn_and_the_note_says_so():
    names = [f"discipline {i:03}" for i in range(200)]
    for found in cell_maps([cell(name, None, asked=i) for i, name in enumerate(names)]):
        assert sorted(found.y) == names[-MAX_NAMES:]
        assert f"The {MAX_NAMES} of 200 disciplines" in found.note
    (found,) = kept_by({"discipline": Counter({name: i + 1 for i, name in enumerate(names)})})
    assert found.series[0].x[0] == names[-1]
    assert len(found.series[0].x) == MAX_NAMES
    assert "of 200" in found.note
