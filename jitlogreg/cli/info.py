"""Show versions, targets, threads, vector width, tuning profile and the folder of compiled kernels."""

from jitlogreg.cli.errors import UsageError
from jitlogreg.cli.machine import machine, versions
from jitlogreg.cli.options import add_target_option, selected_targets
from jitlogreg.cli.tables import print_table
from jitlogreg.targets.compile import cache_folder
from jitlogreg.targets.cpu import profile
from jitlogreg.targets.dispatch import targets


def add_options(parser):
    """Add the options of `jitlogreg info`."""
    add_target_option(parser, "show this target alone, and fail if it is not available")


def run(options):
    """Print the tables of `jitlogreg info`."""
    shown = targets()
    if options.target:
        shown = {name: shown[name] for name in selected_targets(options.target)}
    try:
        tuned = profile.current()
    except ValueError as error:
        raise UsageError(str(error)) from error
    here = machine()
    print_table(
        ("<package", "<version"),
        list(versions().items()),
    )
    print()
    print_table(
        ("<machine", "<"),
        [
            ("system", here["system"]),
            ("processor", here["cpu"]),
            ("SIMD width", f"{here['simd_bits']} bits, {'with' if here['fma'] else 'without'} fused multiply-add"),
            ("threads", f"{here['threads']} of {here['cores']} logical cores"),
            ("threading layer", here["threading_layer"]),
            ("profile", f"{tuned.cpu} ({tuned.source})"),
            ("cache folder", str(cache_folder() or "none is writable: every process compiles anew")),
        ],
    )
    print()
    print_table(
        ("<target", "<available", "<device, or why not"),
        [(name, "yes" if one.available else "no", one.device or one.reason) for name, one in shown.items()],
    )
