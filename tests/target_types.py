"""Every target is a `Target`: for mypy, which reads this file and holds each to the protocol."""

from jitlogreg.targets import cpu, cuda, reference
from jitlogreg.targets.base import Target

TARGETS: tuple[Target, ...] = (cpu, cuda, reference)
