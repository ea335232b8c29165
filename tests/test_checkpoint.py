"""Runs that are killed and go on to the same bits, and files that are refused."""

import contextlib
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import make_data

import jitlogreg as jlr
from jitlogreg.solvers import checkpoint

RUNS = ["newton", "lbfgs", "gradient_descent", "descent"]

# What a child process runs until it is killed: slowly, so that it is killed between steps and within them
CHILD = """
import sys, time
import numpy as np
import jitlogreg as jlr
kind, folder, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
data = np.load(folder + "/data.npz")
X, y, path = data["X"], data["y"], folder + "/run.npz"
import os
resume = path if os.path.exists(path) else None
arguments = dict(checkpoint=path, checkpoint_every=1, resume=resume, callback=lambda state: time.sleep(pause))
if kind == "descent":
    run = jlr.gradient_descent(X, y, learning_rate=0.5, n_iterations=40, l2=0.01, **arguments)
    np.savez(folder + "/done.npz", w=run.w, b=run.b, history=run.loss_history)
else:
    run = jlr.fit(X, y, solver=kind, tolerance=1e-12, l2=1e-4, max_iterations=40, **arguments)
    np.savez(folder + "/done.npz", w=run.w, b=run.b, history=run[2:6])
"""


def run_of(kind, data, **arguments):
    """The numbers with which a run ends, but for how often this part of it has read X."""
    if kind == "descent":
        run = jlr.gradient_descent(data.X, data.y, learning_rate=0.5, **{"n_iterations": 40, "l2": 0.01, **arguments})
        return run.w.tolist(), run.b, run.loss_history.tolist(), run.n_iterations
    run = jlr.fit(data.X, data.y, solver=kind, tolerance=1e-12, **{"max_iterations": 40, "l2": 1e-4, **arguments})
    return run.w.tolist(), *run[1:-1]


def iterations(kind, count):
    return {"n_iterations" if kind == "descent" else "max_iterations": count}


@pytest.fixture(params=RUNS)
def kind(request):
    return request.param


@pytest.fixture
def hard():
    """Data on which every solver takes a dozen iterations or more."""
    data = make_data(400, 6, seed=5)
    data.X[:, 1:] *= np.array([0.2, 0.5, 2.0, 5.0, 10.0])
    return data


@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("stopped_at", [0, 2, 5])
def test_a_run_goes_on_to_the_same_bits(target, tmp_path, hard, kind, every, stopped_at):
    wanted, path = run_of(kind, hard), tmp_path / "run.npz"
    same = run_of(kind, hard, checkpoint=path, checkpoint_every=every)
    assert same == wanted
    path.unlink()

    def fail(state):
        if state.iteration == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(kind, hard, checkpoint=path, checkpoint_every=every, callback=fail)
    assert run_of(kind, hard, resume=path) == wanted
    assert run_of(kind, hard, resume=str(path), checkpoint=path, checkpoint_every=every) == wanted
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def test_a_run_that_has_ended_goes_on_with_more_iterations(tmp_path, hard, kind):
    path = tmp_path / "run.npz"
    wanted = run_of(kind, hard)
    run_of(kind, hard, checkpoint=path, checkpoint_every=100, **iterations(kind, 3))
    seen = []
    assert run_of(kind, hard, resume=path, callback=lambda state: seen.append(state.iteration)) == wanted
    assert seen[0] == 3


def test_a_file_that_cannot_be_replaced_is_left_whole(tmp_path, hard, kind, monkeypatch):
    path = tmp_path / "run.npz"
    run_of(kind, hard, checkpoint=path, **iterations(kind, 2))
    before = path.read_bytes()

    def fail(self, target):
        raise OSError("no space is left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space is left"):
        run_of(kind, hard, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_descent_in_any_dtype_goes_on(tmp_path, target, dtype):
    data = make_data(50, 3, (dtype, dtype), weighted=True)
    given = {"sample_weight": data.sample_weight, "learning_rate": 0.3, "w": data.w, "b": 0.5}
    wanted = jlr.gradient_descent(data.X, data.y, n_iterations=20, **given)
    jlr.gradient_descent(data.X, data.y, n_iterations=7, checkpoint=tmp_path / "run", **given)
    run = jlr.gradient_descent(data.X, data.y, n_iterations=20, resume=tmp_path / "run", **given)
    assert run.w.dtype == dtype
    assert run.w.tobytes() == wanted.w.tobytes()
    assert run.b == wanted.b
    np.testing.assert_array_equal(run.loss_history, wanted.loss_history)


def test_a_descent_that_diverges_keeps_its_last_good_state(tmp_path):
    data, path = make_data(50, 3), tmp_path / "run"
    with pytest.warns(RuntimeWarning, match="smaller learning_rate"):
        jlr.gradient_descent(
            1e200 * data.X, data.y, learning_rate=1e200, n_iterations=9, checkpoint=path, checkpoint_every=1
        )
    with np.load(path) as file:
        assert np.isfinite(file["history"]).all()


def killed_and_resumed(kind, folder, rng):
    """Start, kill at a random moment, and start again until it is through; how often it was killed."""
    kills = 0
    while not (folder / "done.npz").exists():
        child = subprocess.Popen([sys.executable, "-c", CHILD, kind, str(folder), "0.02"])
        try:
            child.wait(rng.uniform(0.8, 2.5) if kills < 5 else 100)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
        else:
            assert child.returncode == 0
    return kills


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_twenty_kills_change_no_bit(tmp_path, hard):
    rng, kills, runs = random.Random(time.time_ns()), 0, 0
    while kills < 20:
        kind = RUNS[runs % len(RUNS)]
        folder = tmp_path / str(runs)
        folder.mkdir()
        np.savez(folder / "data.npz", X=hard.X, y=hard.y)
        kills += killed_and_resumed(kind, folder, rng)
        wanted, runs = run_of(kind, hard), runs + 1
        with np.load(folder / "done.npz") as done:
            assert done["w"].tolist() == wanted[0], kind
            assert done["b"] == wanted[1]
            assert done["history"].tolist() == (wanted[2] if kind == "descent" else list(wanted[2:6]))
    print(f"{kills} kills in {runs} runs")


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def kept(tmp_path, hard, kind):
    path = tmp_path / "run.npz"
    run_of(kind, hard, checkpoint=path, **iterations(kind, 3))
    return path


def test_a_truncated_file_is_refused_wherever_it_ends(kept, hard, kind):
    content = kept.read_bytes()
    for length in [0, 1, 10, len(content) // 2, len(content) - 1]:
        kept.write_bytes(content[:length])
        with pytest.raises(ValueError, match="which is damaged or no checkpoint"):
            run_of(kind, hard, resume=kept)


def test_a_flipped_bit_is_refused(kept, hard, kind):
    content = bytearray(kept.read_bytes())
    with zipfile.ZipFile(kept) as file:
        info = file.getinfo("theta.npy" if kind != "descent" else "w.npy")
    content[info.header_offset + 200] ^= 1
    kept.write_bytes(content)
    with pytest.raises(ValueError, match="which is damaged or no checkpoint"):
        run_of(kind, hard, resume=kept)


def test_any_byte_may_be_damaged(kept, hard, kind):
    whole = kept.read_bytes()
    directory = whole.index(b"PK\x01\x02")  # where a flipped bit may rename an array or call it encrypted
    wanted = run_of(kind, hard, resume=kept)
    for at in range(directory, len(whole), 7):
        for bit in (1, 8):
            content = bytearray(whole)
            content[at] ^= bit
            kept.write_bytes(content)
            # what is not used of the directory does no harm
            with contextlib.suppress(ValueError):
                assert run_of(kind, hard, resume=kept) == wanted


def test_other_files_are_refused(tmp_path, hard, kind):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.savez(tmp_path / "pickle.npz", run=np.array([{}], dtype=object))
    (tmp_path / "text").write_text("hello")
    for name in ("other.npz", "pickle.npz", "text"):
        with pytest.raises(ValueError, match="which is damaged or no checkpoint"):
            run_of(kind, hard, resume=tmp_path / name)
    with pytest.raises(FileNotFoundError):
        run_of(kind, hard, resume=tmp_path / "missing")


@pytest.mark.parametrize("changed", ["X", "y"])
def test_other_data_is_refused(kept, hard, kind, changed):
    getattr(hard, changed)[7] = 0.5
    with pytest.raises(ValueError, match="resume: expected a run on the same X, in the same memory order"):
        run_of(kind, hard, resume=kept)


def test_another_version_is_refused(kept, hard, kind, monkeypatch):
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    with pytest.raises(
        ValueError, match=r"^resume: expected a checkpoint of this version, 99\.0, got .*, of version 0\.1\.0$"
    ):
        run_of(kind, hard, resume=kept)


def test_other_arguments_are_refused(kept, hard, kind):
    with pytest.raises(
        ValueError, match=r"^resume: expected a run whose l2 is 0\.5, as it is here, got .*, whose l2 is"
    ):
        run_of(kind, hard, resume=kept, l2=0.5)
    with pytest.raises(ValueError, match=r"^resume: expected a run whose call is"):
        run_of("newton" if kind == "descent" else "descent", hard, resume=kept)


def test_fewer_steps_than_were_made_are_refused(tmp_path, hard):
    run_of("descent", hard, checkpoint=tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"^n_iterations: expected an integer of at least 40, the iterations of resume, got 5$"
    ):
        run_of("descent", hard, resume=tmp_path / "run", n_iterations=5)


def test_paths_and_counts_are_checked(tmp_path, hard, kind):
    with pytest.raises(TypeError, match=r"^checkpoint: expected a path, got an int$"):
        run_of(kind, hard, checkpoint=3)
    with pytest.raises(TypeError, match=r"^resume: expected a path, got a bool$"):
        run_of(kind, hard, resume=True)
    with pytest.raises(ValueError, match="checkpoint_every: expected an integer of at least 1, got 0"):
        run_of(kind, hard, checkpoint=tmp_path / "run", checkpoint_every=0)
    with pytest.raises(FileNotFoundError):
        run_of(kind, hard, checkpoint=tmp_path / "missing" / "run")


@pytest.mark.parametrize("where", ["", "none/run.npz"])
def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_run(tmp_path, where):
    data = make_data(40, 5)
    with pytest.raises(
        FileNotFoundError, match=r"^checkpoint: expected the path of a file in a folder that exists, got '.*'$"
    ):
        jlr.fit(data.X, data.y, checkpoint=tmp_path / where, callback=lambda _: pytest.fail("it ran"))
