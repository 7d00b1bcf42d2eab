"""Decoding on an NVIDIA GPU (NVDEC), where the pictures stay; or why a stream is decoded on the CPU after all.

Falls back by stream: if the GPU cannot be had, here, before anything is opened; if it does not take the codec, the
profile or one more session, FFmpeg turns to its own decoder at the first picture, which is then an ordinary one. If
that picture is of no use here, or there is no memory for it, `stages/source/av_fallback.py` begins anew on the CPU.
Could not be run on a GPU where it was written: see tests/gpu. Source: PyAV 18, `av.codec.hwaccel`.
"""

from __future__ import annotations

import ctypes
import logging

import av
import av.error
import torch
from av.codec.hwaccel import HWAccel

from engines.cuda.av_surface import SurfaceAvPicture, unread_layout
from engines.types import Picture
from stages.source.picture import AvPicture

logger = logging.getLogger(__name__)

# Whose context FFmpeg is to use: torch's, in which the kernels run. It is the device's primary one, but asked for by
# that name FFmpeg refuses it where torch made it first, since it wants other flags; so the current one comes first.
_CONTEXTS = ({"primary_ctx": "0", "current_ctx": "1"}, {"primary_ctx": "1"})

# NVDEC's own library, which FFmpeg loads with the first decoder only: without it each stream would seem to be of a
# codec that the GPU does not take.
_NVDEC = "libnvcuvid.so.1"


class GpuDecoding:
    """One stream's way to decode, made in its thread; `hwaccel` is None where the GPU cannot be had."""

    def __init__(self, gpu: int) -> None:
        self._gpu = gpu
        self.hwaccel, why = _decoder_on(gpu)
        self._why = f"GPU {gpu} cannot be used for decoding: {why}" if self.hwaccel is None else ""
        if self._why:
            logger.warning("%s; the stream is decoded on the CPU", self._why)

    @property
    def in_use(self) -> bool:
        """False once it is known that the stream is decoded on the CPU."""
        return not self._why

    def give_up(self, why: str) -> None:
        """From now on the stream is decoded on the CPU."""
        self.hwaccel, self._why = None, f"GPU {self._gpu} {why}"
        logger.warning("%s; the stream is decoded on the CPU", self._why)

    def refuses(self, frame: av.VideoFrame) -> str | None:
        """Why the stream's first picture is of no use where it lies."""
        layout = unread_layout(frame) if _on_gpu(frame) and self.in_use else None
        return None if layout is None else f"leaves its pictures as {layout}, which cannot be read there"

    def picture_of(self, frame: av.VideoFrame) -> Picture:
        return SurfaceAvPicture(frame) if _on_gpu(frame) else AvPicture(frame)

    def said_of(self, frame: av.VideoFrame) -> str:
        """Where the frame was decoded, and, if that is not the GPU, why: for `/status`."""
        if _on_gpu(frame):
            return f"GPU {self._gpu}"
        if not self._why:
            self._why = f"GPU {self._gpu} takes neither this codec and profile, {frame.format.name}, nor one more"
        return f"CPU: {self._why}"


def _on_gpu(frame: av.VideoFrame) -> bool:
    return bool(frame.format.name == "cuda")


def _decoder_on(gpu: int) -> tuple[HWAccel | None, str]:
    """FFmpeg falls back for codecs, not for a device that is not there: that would look like a broken camera."""
    if not torch.cuda.is_available():
        return None, "torch finds no GPU"
    try:
        ctypes.CDLL(_NVDEC)
    except OSError:
        return None, f"{_NVDEC} cannot be loaded; a container needs NVIDIA_DRIVER_CAPABILITIES with video in it"
    try:
        torch.cuda.set_device(gpu)
        torch.zeros(1, device="cuda")  # whatever CUDA puts off until it is needed
    except RuntimeError as error:  # its memory is used up, for one
        return None, " ".join(str(error).split())
    why = ""
    for options in _CONTEXTS:
        hwaccel = HWAccel(
            "cuda", device=str(gpu), allow_software_fallback=True, options=dict(options), is_hw_owned=True
        )
        try:
            hwaccel.create(av.codec.Codec("h264", "r"))
        except (av.error.FFmpegError, NotImplementedError) as error:
            why = str(getattr(error, "strerror", None) or error)
        else:
            return hwaccel, ""
    return None, why
