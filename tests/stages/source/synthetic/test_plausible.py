"""A detector trained on photographs finds the rendered people and vehicles: the look is no coloured squares."""

import pytest

from engines.options import ModelOptions
from pipeline.bench.synthetic import measure_recall
from stages.source.synthetic.options import SyntheticOptions
from tests.support.shared import SHARED

TEACHER = None if SHARED is None else SHARED / "teachers" / "yolox_nano_416.onnx"


@pytest.mark.skipif(TEACHER is None or not TEACHER.exists(), reason="the teacher lies beside the repository only")
@pytest.mark.parametrize("time", ["day", "night"])
def test_a_detector_of_real_streets_finds_people_and_vehicles(time: str) -> None:
    scenes = [SyntheticOptions(time=time, seed=seed) for seed in (1, 2)]  # type: ignore[arg-type]
    found = measure_recall(ModelOptions(path=str(TEACHER), score=0.35), scenes, range(0, 500, 50))
    assert found["person"].expected > 50
    assert found["person"].recall >= 0.75
    assert found["vehicle"].expected > 10
    assert found["vehicle"].recall >= 0.8
