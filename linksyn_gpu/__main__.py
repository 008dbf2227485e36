"""`python -m linksyn_gpu` is `linksyn-gpu`."""

from linksyn_gpu.cli import main

main(prog_name="linksyn-gpu")
