"""What model files say of themselves, made up, for the tests of specs."""

from __future__ import annotations

from engines.spec import ModelFile, Tensor

SHA256 = "0123456789abcdef" * 4


def model_file(
    path: object,
    input_shape: tuple[int, ...] = (1, 3, 64, 96),
    *,
    outputs: dict[str, tuple[int, ...]] | None = None,
    metadata: dict[str, str] | None = None,
    input_name: str = "images",
    dtype: str = "float32",
) -> ModelFile:
    """A model file at `path` (which need not exist); by default with boxes and scores of 3 classes at 96x64."""
    shapes = {"boxes": (1, 126, 4), "scores": (1, 126, 3)} if outputs is None else outputs
    return ModelFile(
        path=str(path),
        sha256=SHA256,
        bytes=1000,
        inputs=(Tensor(name=input_name, shape=input_shape, dtype=dtype),),
        outputs=tuple(Tensor(name=name, shape=shape, dtype="float32") for name, shape in shapes.items()),
        metadata=metadata or {},
    )
