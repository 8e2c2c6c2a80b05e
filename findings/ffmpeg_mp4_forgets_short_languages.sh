#!/bin/sh
# FFmpeg writes a sound track's language `de` into no MP4, and `deutsch` as `deu`.
#
# A remux from Matroska to MP4 keeps languages: `deu` and `ger` arrive. Languages of two
# letters, and of a region, as Matroska has them too (`de`, `pt-BR`), do not: the track of
# the MP4 has no language at all, or `und`, and no error or warning tells of the loss. A
# longer word is cut to its first three letters. Code that copies tracks and then looks
# for German sound has to put the three letters of ISO 639-2 there first.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 numpy==2.3.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import av
import numpy

GIVEN = ["deu", "ger", "de", "pt-BR", "deutsch"]


def kept(path: str) -> list[str | None]:
    """Return the languages of the tracks, as they are read back; none: None."""
    with av.open(path, "w") as made:
        tracks = []
        for language in GIVEN:
            track = made.add_stream("aac", rate=48_000)
            track.metadata["language"] = language
            tracks.append(track)
        for track in tracks:
            silence = numpy.zeros((1, 4_096), numpy.float32)
            frame = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
            frame.sample_rate = 48_000
            made.mux([*track.encode(frame), *track.encode(None)])
    with av.open(path) as read:
        found = [track.metadata.get("language") for track in read.streams]
    return [None if language == "und" else language for language in found]


matroska, mp4 = kept("film.mkv"), kept("film.mp4")
version = ".".join(map(str, av.library_versions["libavformat"]))
print(f"PyAV {av.__version__}, libavformat {version}: {GIVEN} → {matroska}, {mp4}")
assert matroska == GIVEN, matroska
assert mp4 == ["deu", "ger", None, None, "deu"], mp4
PYTHON
