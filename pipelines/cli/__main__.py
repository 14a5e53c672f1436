"""``python -m pipelines.cli``."""

from . import main

main()
