"""What mypy alone reads: every target offers what `Target` says, under its names and with its arguments."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jitlogreg.targets import cpu, cuda, reference
    from jitlogreg.targets.base import Target

    TARGETS: tuple[Target, ...] = (cpu, cuda, reference)
