"""Draw what the explanations explain: docs/pictures/one-read.svg, cpu-kernel.svg and reduction.svg.

python tools/drawings.py
"""

import pictures
from matplotlib.patches import FancyArrowPatch, Rectangle
from pictures import FAINT, GRID, INK, OWN, PEER, SECOND, SHADE, THIRD


def _canvas(figure, width, height):
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    axes.axis("off")
    return axes


def _box(axes, x, y, width, height, text="", fill=SHADE, edge=OWN, **style):
    axes.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor=edge, linewidth=1.2))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", **{"fontsize": 9, **style})


def _arrow(axes, start, end, colour=INK, **style):
    kind = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.3, "shrinkA": 1, "shrinkB": 1, **style}
    axes.add_patch(FancyArrowPatch(start, end, color=colour, **kind))


def _rows(axes, x, y, width, height, count, marked, colour):
    """X as its blocks of rows, of which some are marked."""
    step = height / count
    for k in range(count):
        fill = colour if k in marked else pictures.PAPER
        axes.add_patch(Rectangle((x, y + height - (k + 1) * step), width, step, facecolor=fill, edgecolor=GRID))
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=FAINT, linewidth=1.2))


def one_read(path):
    """Two products that each read X, beside one loop over blocks."""
    with pictures.drawing(path, 9, 3.7) as figure:
        axes = _canvas(figure, 18, 7.4)
        axes.text(0.2, 6.95, "Two products: X comes from memory twice", fontweight="bold")
        for x, label in ((0.6, "z = X w + b"), (4.6, "dw = Xᵀ dz")):
            _rows(axes, x, 1.2, 2.4, 5, 10, range(10), PEER)
            axes.text(x + 1.2, 0.55, label, ha="center")
        _arrow(axes, (3.1, 3.7), (4.5, 3.7))
        axes.text(3.8, 4.0, "dz", ha="center", fontsize=9)
        axes.text(1.8, 0, "read 1", ha="center", color=FAINT, fontsize=9)
        axes.text(5.8, 0, "read 2", ha="center", color=FAINT, fontsize=9)

        axes.text(9.2, 6.95, "Here: each block serves both while it is in cache", fontweight="bold")
        _rows(axes, 9.6, 1.2, 2.4, 5, 10, [3], OWN)
        axes.text(10.8, 0, "one read", ha="center", color=FAINT, fontsize=9)
        axes.text(10.8, 0.55, "X, by blocks of rows", ha="center")
        _arrow(axes, (12.05, 4.45), (13.35, 4.45), OWN)
        _box(axes, 13.4, 3.0, 4.3, 3.2, "", fill=pictures.PAPER, edge=FAINT)
        axes.text(15.55, 5.85, "in the core's cache", ha="center", color=FAINT, fontsize=9)
        _box(axes, 13.7, 4.9, 3.7, 0.7, "z = X w + b")
        _box(axes, 13.7, 4.05, 3.7, 0.7, "L(y, z),  dz = σ(z) − y")
        _box(axes, 13.7, 3.2, 3.7, 0.7, "dw += Xᵀ dz")
        _arrow(axes, (15.55, 2.95), (15.55, 2.2), OWN)
        axes.text(15.55, 1.75, "Σ L,  dw,  db", ha="center")


def cpu_kernel(path):
    """The way of one block through the caches, and the one that is prefetched."""
    with pictures.drawing(path, 9, 3.9) as figure:
        axes = _canvas(figure, 18, 7.8)
        levels = {"memory": 0.3, "cache": 5.0, "registers": 10.6}
        for (name, x), width in zip(levels.items(), (3.4, 4.2, 7.1), strict=True):
            _box(axes, x, 0.3, width, 6.6, "", fill=pictures.PAPER, edge=GRID)
            axes.text(x + width / 2, 7.15, name, ha="center", color=FAINT)
        _rows(axes, 1.0, 1.1, 2.0, 5.2, 13, range(13), PEER)
        axes.text(2.0, 0.6, "X", ha="center")
        _box(axes, 5.4, 4.6, 3.4, 1.5, "block k\nin use", fill=OWN, color=pictures.PAPER)
        _box(axes, 5.4, 2.4, 3.4, 1.5, "a later block,\nbeing prefetched")
        _box(axes, 5.4, 0.7, 1.55, 0.9, "w")
        _box(axes, 7.25, 0.7, 1.55, 0.9, "dw")
        _arrow(axes, (3.1, 3.2), (5.3, 3.2), SECOND, linestyle="--")
        axes.text(4.2, 3.4, "prefetch", ha="center", color=SECOND, fontsize=9)
        _arrow(axes, (7.1, 4.0), (7.1, 4.55), FAINT)
        for k, (title, text) in enumerate(
            (
                ("margins", "rows side by side; each number of w is loaded once for all of them"),
                ("epilogue", "eight examples in one vector: loss and residual"),
                ("accumulation", "the same rows again; each number of dw is loaded and stored once"),
            )
        ):
            y = 5.05 - 2.1 * k
            _box(axes, 11.0, y, 6.3, 1.45, "", edge=OWN)
            axes.text(11.25, y + 1.0, title, fontweight="bold", fontsize=9)
            axes.text(11.25, y + 0.25, _wrapped(text), fontsize=8, color=FAINT, linespacing=1.1)
        _arrow(axes, (8.85, 5.55), (10.95, 5.75), OWN)
        _arrow(axes, (8.85, 5.15), (10.95, 1.6), OWN)
        for y in (5.0, 2.9):
            _arrow(axes, (14.1, y), (14.1, y - 0.6), FAINT)


def _wrapped(text):
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 42:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(line.strip() for line in lines)


def reduction(path):
    """Tasks by shape, threads by chance, totals in order."""
    with pictures.drawing(path, 9, 3.5) as figure:
        axes = _canvas(figure, 18, 7)
        axes.text(1.4, 6.6, "X, cut by its shape alone", ha="center", fontsize=9, color=FAINT)
        axes.text(6.7, 6.6, "tasks, on whichever thread is free", ha="center", fontsize=9, color=FAINT)
        axes.text(12.0, 6.6, "totals, high and low part", ha="center", fontsize=9, color=FAINT)
        axes.text(16.4, 6.6, "added in order", ha="center", fontsize=9, color=FAINT)
        for k, (thread, colour) in enumerate(
            (("thread 1", OWN), ("thread 2", SECOND), ("thread 2", SECOND), ("thread 1", OWN))
        ):
            y = 5.1 - 1.5 * k
            _box(axes, 0.4, y, 2.0, 1.2, f"chunk {k}", fill=pictures.PAPER, edge=FAINT)
            _arrow(axes, (2.45, y + 0.6), (4.9, y + 0.6), FAINT)
            _box(axes, 5.0, y + 0.1, 3.4, 1.0, f"task {k} · {thread}", fill=colour, edge=colour, color=pictures.PAPER)
            _arrow(axes, (8.45, y + 0.6), (10.3, y + 0.6), FAINT)
            _box(axes, 10.4, y + 0.2, 3.2, 0.8, f"T{'₀₁₂₃'[k]}", edge=THIRD)
            _arrow(axes, (13.65, y + 0.6), (15.4, 3.35 + 0.25 * (1.5 - k)), THIRD)
        _box(axes, 15.5, 2.7, 2.2, 1.4, "((T₀ + T₁)\n+ T₂) + T₃", edge=THIRD)


def main():
    for draw in (one_read, cpu_kernel, reduction):
        draw(pictures.PICTURES / f"{draw.__name__.replace('_', '-')}.svg")


if __name__ == "__main__":
    main()
