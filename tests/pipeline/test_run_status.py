from pathlib import Path

from pipeline.config import CheckpointConfig
from pipeline.presets import preset
from pipeline.run_status import RunStatus

DEBUG = preset("debug")


NOT_BEGUN = RunStatus(iteration=0, iteration_seconds=0.0, score=None, is_finished=False, total_seconds=0.0, fault="")


def test_a_run_that_has_not_begun_is_at_iteration_0(tmp_path: Path):
    assert RunStatus.of(tmp_path / "none", DEBUG) == NOT_BEGUN
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1')  # still being written
    assert RunStatus.of(tmp_path, DEBUG) == NOT_BEGUN


def test_an_iteration_that_was_played_again_counts_once(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1, "evaluation/score_mean": 2.0}\n{"iteration": 2}\n')
    timings = [(1, 10.0), (2, 90.0), (2, 30.0)]
    lines = [f'{{"iteration": {iteration}, "total": {s + 1.0}, "collect": {s}}}\n' for iteration, s in timings]
    (tmp_path / "timings.jsonl").write_text("".join(lines))
    (tmp_path / "scores.json").write_text('{"iterations": 2}')
    (tmp_path / "checkpoints" / "000002").mkdir(parents=True)
    status = RunStatus.of(tmp_path, DEBUG)
    assert status == RunStatus(
        iteration=2, iteration_seconds=21.0, score=2.0, is_finished=DEBUG.iterations == 2, total_seconds=42.0, fault=""
    )
    assert RunStatus.of(tmp_path, DEBUG.model_copy(update={"iterations": 2})).is_finished


def test_damaged_files_are_no_status(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"iteration": \xff}\n')
    assert RunStatus.of(tmp_path, DEBUG) == NOT_BEGUN
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 3}\n')
    (tmp_path / "scores.json").write_text("{")
    assert not RunStatus.of(tmp_path, DEBUG).is_finished


def test_scores_alone_do_not_finish_a_run(tmp_path: Path):
    """Whoever goes on with it brings its metrics back."""
    (tmp_path / "scores.json").write_text(f'{{"iterations": {DEBUG.iterations}}}')
    (tmp_path / "checkpoints" / "000003").mkdir(parents=True)
    assert RunStatus.of(tmp_path, DEBUG) == NOT_BEGUN


def test_a_run_is_judged_by_its_own_configuration_and_not_by_what_is_planned(tmp_path: Path):
    """Its first commit is due later than the manifest, which has been changed since, would have it."""
    own = DEBUG.model_copy(update={"iterations": 20, "checkpoint": CheckpointConfig(every=10)})
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"iteration": {i}}}\n' for i in range(1, 7)))
    assert "found metrics.jsonl of more than 1 iterations" in RunStatus.of(tmp_path, DEBUG).fault
    (tmp_path / "config.json").write_text(own.model_dump_json())
    assert RunStatus.of(tmp_path, DEBUG).fault == ""
