"""Files of every kind that claim absurd sizes: refused before anything is allocated, in a process that has no room."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib

import av
import nibabel
import numpy as np
import pydicom
import pytest
import soundfile
from PIL import Image
from test_prepare_volumes import slice_file

ROOM = 128  # MiB of addresses, whoever asks for them: NumPy, or a library in C.
LARGEST = {"text": 64 << 20, "series": 64 << 20}  # Of the others the usual 4 GiB.
CHILD = """
import json, resource, sys
import av, av.video.reformatter, nibabel, PIL.Image, pydicom, pydicom.pixels, scipy.ndimage, soundfile
from convnd import data
PIL.Image.init()
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
found = {}
for kind, most in json.loads(sys.argv[3]).items():
    prepare = getattr(data, "prepare_" + kind)
    report = prepare(f"{sys.argv[1]}/{kind}", f"{sys.argv[1]}/{kind}.h5", label_from=None, workers=1, largest=most)
    found[kind] = [report.samples, {failure.path: failure.reason for failure in report.failed}]
print(json.dumps(found))
"""


def changed(content, place, form, *numbers):
    """The content with numbers written over it."""
    return content[:place] + struct.pack(form, *numbers) + content[place + struct.calcsize(form) :]


def saved(form, image, **given):
    buffer = io.BytesIO()
    image.save(buffer, form, **given)
    return buffer.getvalue()


# How the files are made; a number of zero bytes may follow, as a hole.


def audio():
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(800, "int16"), 8000, format="WAV")
    wav = buffer.getvalue()
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(800, "int16"), 8000, format="FLAC")
    flac = buffer.getvalue()
    start = int.from_bytes(flac[18:26], "big") >> 36 << 36
    yield "good.wav", wav
    # Who writes into a pipe can't know the length, and claims the most: what is there is read.
    yield "good_pipe.wav", changed(changed(wav, 4, "<I", 2**32 - 1), 40, "<I", 2**32 - 1)
    yield "channels.wav", changed(changed(wav, 22, "<H", 65535), 32, "<H", 65534)
    yield "frames.flac", changed(flac, 18, ">Q", start | (1 << 36) - 1)
    yield "near.flac", changed(flac, 18, ">Q", start | 900_000_000)


def png(width, height, more=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), more and chunk(b"zTXt", more), chunk(b"IDAT", zlib.compress(bytes(99)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(width, height, strips=1):
    content = saved("TIFF", Image.new("L", (8, 8)))
    start = int.from_bytes(content[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(content[start : start + 2], "little"), 12):
        tag = int.from_bytes(content[entry : entry + 2], "little")
        if tag in (256, 257):
            content = changed(content, entry + 2, "<HII", 4, 1, width if tag == 256 else height)
        if tag == 273:
            content = changed(content, entry + 4, "<I", strips)
    return content


def images():
    jpeg, gif = saved("JPEG", Image.new("RGB", (8, 8))), saved("GIF", Image.new("P", (8, 8)))
    webp = saved("WEBP", Image.new("RGB", (8, 8)), lossless=True)
    bmp = saved("BMP", Image.new("RGB", (8, 8)))
    yield "good.png", saved("PNG", Image.new("L", (8, 8)))
    yield "bomb.png", png(100_000, 100_000)
    yield "text.png", png(8, 8, b"a\0\0" + zlib.compress(bytes(ROOM << 20), 1))
    yield "bomb.tif", tiff(2**31, 2**30)
    yield "strips.tif", tiff(8, 8, 2**31 - 1)
    yield "bomb.webp", changed(webp, webp.index(b"VP8L") + 9, "<I", 2**28 - 1)
    # Of a size that is allowed, but not in so few bytes.
    yield "near.png", png(60_000, 60_000)
    yield "near.tif", tiff(30_000, 30_000)
    for name, side in {"bomb": 65535, "near": 30_000}.items():
        yield name + ".jpg", changed(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", side, side)
        yield name + ".gif", changed(gif, 6, "<HH", side, side)
        yield name + ".bmp", changed(bmp, 18, "<ii", side, side)
        yield name + ".ppm", b"P6 %d %d 255\n" % (side, side) + bytes(99)


def clip(form, codec, pixels):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as file:
        stream = file.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, pixels
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), "uint8"), format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def video():
    avi, gif, mkv = clip("avi", "ffv1", "bgr0"), clip("gif", "gif", "rgb8"), clip("matroska", "ffv1", "bgr0")
    yield "good.mkv", mkv
    for name, side in {"bomb": 2**30, "near": 30_000}.items():
        yield name + ".avi", changed(avi, avi.index(b"strf") + 12, "<ii", side, side)
        yield name + "_frames.mpg", b"YUV4MPEG2 W%d H%d F10:1 Ip C420\nFRAME\n" % (side, side) + bytes(99)
    yield "bomb.gif", changed(gif, 6, "<HH", 65535, 65535)
    # PixelWidth of 4 bytes in the place of it and PixelHeight.
    yield "bomb.mkv", mkv.replace(b"\xb0\x81\x10\xba\x81\x10", b"\xb0\x84\x7f\xff\xff\xff")


def volumes():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 3, 3), "uint8"))
    yield "good.npy", buffer.getvalue()
    for name, side in {"bomb": 30_000, "near": 1200}.items():
        header = nibabel.Nifti1Header()
        header.set_data_shape((side,) * 3)
        header.set_data_dtype("int16")
        header["magic"], header["vox_offset"] = b"n+1", 352
        nifti = header.binaryblock + bytes(400)
        mgh = changed(nibabel.MGHImage(np.zeros((3, 3, 3), "uint8"), np.eye(4)).to_bytes(), 4, ">iii", *[side] * 3)
        for suffix, content in {"nii": nifti, "mgh": mgh}.items():
            yield f"{name}.{suffix}", content
            yield f"{name}.{'nii.gz' if suffix == 'nii' else 'mgz'}", gzip.compress(content)


def npy(shape, version=1, length=None):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    size = (len(text) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + bytes(80)


def npz(content, name="values.npy", claims=None):
    """An archive of one array; with ``claims`` its directory says that it is so large."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, content)
    result = buffer.getvalue()
    if claims is not None:
        result = changed(result, result.index(b"PK\x03\x04") + 22, "<I", claims)
        result = changed(result, result.index(b"PK\x01\x02") + 24, "<I", claims)
    return result


BVH = b"HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 1 Xposition\n}\nMOTION\nFrames: %d\nFrame Time: 0.1\n1\n"


def series():
    yield "good.csv", b"1\n2\n"
    for name, length in {"bomb": 10**15, "near": 8_000_000}.items():
        yield name + ".npy", npy((length, 1))
        yield name + ".npz", npz(npy((length, 1)))
        yield name + "_says.npz", npz(npy((length, 1)), claims=min(8 * length + 128, 2**32 - 2))
        yield name + ".bvh", BVH % length
    yield "header.npy", npy((3, 1), version=2, length=2**32 - 1)
    yield "header.npz", npz(npy((3, 1), version=2, length=2**31) + bytes(ROOM << 20))
    yield "inner.npz", npz(npz(bytes(ROOM << 20)), "values.npz")
    yield "hole.csv", 1 << 40
    yield "line.bvh", 1 << 40


def text():
    yield "good.csv", b"text,label\na word,b\n"
    yield "hole.csv", 1 << 40
    yield "hole.txt", 1 << 40


MAKERS = {"audio": audio, "images": images, "video": video, "volumes": volumes, "series": series, "text": text}
HELD = "can't hold that: it is truncated or damaged"
CLAIMS = "it claims the size"
LINE = "line 1 is longer than 4194304 characters, which would take more than the 64 MiB that a sample may take"
FRAMES = "it doesn't say how large its frames are; or they are larger than the 4 GiB that a sample may take"
EXPECTED = {
    "audio": {"channels.wav": "Too many channels", "frames.flac": CLAIMS, "near.flac": HELD},
    "images": {
        **dict.fromkeys(["bomb.png", "bomb.tif", "bomb.jpg", "bomb.bmp", "bomb.ppm"], "the most a sample may take"),
        **dict.fromkeys(["near.png", "near.tif", "near.jpg", "near.bmp", "near.ppm", "near.gif", "bomb.gif"], HELD),
        "text.png": "too large", "strips.tif": "isn't a sound image", "bomb.webp": "could not create decoder",
    },
    "video": {
        **dict.fromkeys(["bomb.avi", "near.avi", "bomb.gif"], FRAMES),
        **dict.fromkeys(["bomb_frames.mpg", "near_frames.mpg", "bomb.mkv"], "it isn't a video that FFmpeg reads"),
    },
    "volumes": {
        **dict.fromkeys(["bomb.nii", "bomb.nii.gz", "bomb.mgz"], CLAIMS), "bomb.mgh": "it is truncated or damaged",
        **dict.fromkeys(["near.nii", "near.nii.gz", "near.mgh", "near.mgz"], "can't hold them: it is truncated"),
        "slices": "it claims the size (65535, 65535, 2), 16 GiB",
        "pixels": "slice 0.dcm can't be read: The number of bytes of pixel data is less than expected",
    },
    "series": {
        **dict.fromkeys(["bomb.npy", "bomb.npz", "bomb_says.npz", "bomb.bvh", "hole.csv"], "the most a sample may"),
        **dict.fromkeys(["near.npy", "near.npz", "near_says.npz"], "it claims an array of shape (8000000, 1)"),
        "near.bvh": "it claims 8000000 frames, which a file of its size can't hold",
        "header.npy": "its header claims 4294967295 bytes", "header.npz": "its header claims 2147483648 bytes",
        "inner.npz": "the magic string is not correct", "line.bvh": LINE,
    },
    "text": {"hole.csv": LINE, "hole.txt": CLAIMS},
}  # fmt: skip


def put(path, content):
    """Write a file; of a number so many zeros, which take no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if isinstance(content, int):
            file.truncate(content)
        else:
            file.write(content)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the child reports of each kind."""
    folder = tmp_path_factory.mktemp("claims")
    for kind, make in MAKERS.items():
        for name, content in make():
            put(folder / kind / name, content)
    for number in range(2):
        slice_file(folder / f"volumes/slices/{number}.dcm", np.zeros((4, 4), "int16"), (0, 0, number))
        slice_file(folder / f"volumes/pixels/{number}.dcm", np.zeros((4, 4), "uint8"), (0, 0, number))
        for name, side in {"slices": 65535, "pixels": 8000}.items():
            path = folder / f"volumes/{name}/{number}.dcm"
            slice_ = pydicom.dcmread(path)
            slice_.Rows = slice_.Columns = side
            slice_.save_as(path)
    largest = json.dumps({kind: LARGEST.get(kind, 4 << 30) for kind in MAKERS})
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(ROOM), largest], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", MAKERS)
def test_absurd_claims(found, kind):
    samples, reasons = found[kind]
    assert set(reasons) == set(EXPECTED[kind])
    for name, reason in EXPECTED[kind].items():
        assert reason in reasons[name], name
    assert samples == (2 if kind == "audio" else 1)

