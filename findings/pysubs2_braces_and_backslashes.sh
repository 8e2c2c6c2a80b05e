#!/bin/sh
# pysubs2 takes braces and backslashes out of SRT and WebVTT subtitles that it only moves.
#
# Braces and backslashes have no meaning in SRT, so one expects a file that is loaded,
# shifted by a second and saved to differ in its times only. pysubs2 keeps every text in
# the form of ASS without escaping it, and reads it as ASS when it saves: what stands in
# braces is gone, and `\N` becomes a new line. Of a cue that is all in braces, as some
# write what is heard, nothing is left. The library `srt` keeps the texts.
#
# Installs the pinned packages into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pysubs2==1.8.1 srt==3.5.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
from datetime import timedelta

import pysubs2
import srt

TEXTS = ["{laughs} Hello", "Look in D:\\New", "{music}", "Goodbye"]
second = timedelta(seconds=1)
cues = [
    srt.Subtitle(number, number * 2 * second, (number * 2 + 1) * second, text)
    for number, text in enumerate(TEXTS, 1)
]
source = srt.compose(cues)
vtt = "WEBVTT\n\n" + source.replace(",", ".")


def shifted(text: str, form: str) -> list[str]:
    subtitles = pysubs2.SSAFile.from_string(text, format_=form)
    subtitles.shift(s=1)
    return [cue.content for cue in srt.parse(subtitles.to_string("srt"))]


kept = [cue.content for cue in srt.parse(source)]
found = {"srt": shifted(source, "srt"), "vtt": shifted(vtt, "vtt")}
version = importlib.metadata.version("pysubs2")
print(f"pysubs2 {version}: {TEXTS} become {found}")
assert kept == TEXTS, kept
for texts in found.values():
    assert "Goodbye" in texts, texts
    assert texts[0].strip() == "Hello", texts
    assert texts[1] == "Look in D:\new", texts
    assert not any("{" in text for text in texts), texts
PYTHON
