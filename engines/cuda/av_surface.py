"""A picture that NVDEC left in the GPU's memory, through PyAV and DLPack: nothing of it is copied.

In:  an `av.VideoFrame` of a decoder whose frames stay on the device (`HWAccel("cuda", is_hw_owned=True)`).
Out: a `Surface`, whose owner is the frame and the tensors that hold its memory.
`surface_of` does the same with frames in the host's memory (NV12, P010 and their like), by which the tests drive it.
Source: PyAV 18, `VideoPlane.__dlpack__`.
"""

from __future__ import annotations

import zlib
from typing import NoReturn

import av
import torch
from torch.utils.dlpack import from_dlpack

from engines.av_picture import colours_of
from engines.cuda.surfaces import Surface
from engines.types import SizeWH
from vedette.errors import PictureError

# What PyAV hands out of a GPU's memory and the kernels read: P012 is missing in the former, 4:4:4 and 4:2:2 in both.
_BITS = {"nv12": 8, "p010le": 10, "p016le": 16}


class SurfaceAvPicture:
    """An `engines.types.Picture` and `SurfacePicture` over one frame on the device."""

    __slots__ = ("_frame", "size_wh")

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame: av.VideoFrame | None = frame
        self.size_wh: SizeWH = (frame.width, frame.height)

    def surface(self) -> Surface:
        assert self._frame is not None
        return surface_of(self._frame)

    def digest(self) -> int:
        """A number that is another one when luma is: of the sums of its rows and of its columns, some kilobytes.

        Waits for the device. Raises PictureError.
        """
        assert self._frame is not None
        try:
            luma = from_dlpack(self._frame.planes[0].__dlpack__())
            samples = luma if luma.dtype == torch.uint8 else luma.view(torch.int16)
            # On the device's default stream, as what the decoder does: after it, that is.
            sums = torch.cat([samples.sum(dim=axis, dtype=torch.int32) for axis in (0, 1)])
            return zlib.crc32(sums.cpu().numpy().data)
        except RuntimeError as error:
            msg = f"the GPU did not look at the picture: {str(error).splitlines()[0]}"
            raise PictureError(msg) from error

    def release(self) -> None:
        self._frame = None

    def planes(self) -> NoReturn:
        msg = "the picture lies in the GPU's memory, where the host cannot read it"
        raise PictureError(msg)


def unread_layout(frame: av.VideoFrame) -> str | None:
    """The layout of a frame's planes, if it is one that `surface_of` refuses."""
    layout = _layout(frame)
    return None if layout in _BITS else layout


def surface_of(frame: av.VideoFrame) -> Surface:
    """Where a frame's planes lie. Raises PictureError for a layout that the kernels do not read."""
    layout = _layout(frame)
    bits = _BITS.get(layout)
    if bits is None:
        expected = ", ".join(_BITS)
        msg = f"pixel format {layout} cannot be converted on the GPU, expected one of {expected}"
        raise PictureError(msg)
    # The capsule itself: given the plane, torch would name its stream, which PyAV refuses for frames of CUDA.
    try:
        luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in frame.planes[:2])
    except (RuntimeError, TypeError, ValueError, BufferError) as error:  # PyAV's NotImplementedError is the first
        msg = f"the planes of {layout} cannot be had on the GPU: {' '.join(str(error).split())}"
        raise PictureError(msg) from error
    sample = 1 if bits == 8 else 2
    matrix, full_range = colours_of(frame)
    return Surface(
        size_wh=(frame.width, frame.height),
        luma=luma.data_ptr(),
        luma_pitch=luma.stride(0) * sample,
        chroma=chroma.data_ptr(),
        chroma_pitch=chroma.stride(0) * sample,
        bits=bits,
        msb_aligned=True,
        matrix=matrix,
        full_range=full_range,
        gpu=luma.device.index,
        owner=(frame, luma, chroma),
    )


def _layout(frame: av.VideoFrame) -> str:
    return str((frame.sw_format or frame.format).name)
