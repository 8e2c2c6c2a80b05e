#!/bin/sh
# feedparser keeps only the last of the attributes that an indexer gives of a release.
#
# Torznab and Newznab, the feeds of indexers of torrents and of Usenet, say all further
# things of a release in repeated elements `attr` with a name and a value. feedparser
# gives every link and tag of an entry in a list, so one expects a list of them, too.
# It gives one dictionary with the last of them: the number of seeders and the hash are
# gone, and what is left depends on the order in the feed. Nothing tells of the loss.
#
# Installs the pinned package into a temporary folder; fails when the behaviour changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet feedparser==6.0.14
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import feedparser

ATTRIBUTES = {"seeders": "5", "infohash": "c0ffee" * 6 + "c0ff", "category": "6000"}


def entry(names: list[str]) -> dict:
    attributes = "".join(
        f'<torznab:attr name="{name}" value="{ATTRIBUTES[name]}"/>' for name in names
    )
    feed = feedparser.parse(f"""<?xml version="1.0" encoding="UTF-8"?>
        <rss version="2.0" xmlns:torznab="http://torznab.com/schemas/2015/feed"><channel>
        <item><title>Anna Garden</title><category>6000</category>
        <category>6040</category>{attributes}</item></channel></rss>""")
    assert not feed.bozo, feed.bozo_exception
    return feed.entries[0]


forth = entry(["seeders", "infohash", "category"])
back = entry(["category", "infohash", "seeders"])
tags = [tag["term"] for tag in forth["tags"]]
print(f"feedparser {feedparser.__version__}: {dict(forth['torznab_attr'])}, tags {tags}")
print(f"in the other order: {dict(back['torznab_attr'])}")
assert tags == ["6000", "6040"], tags
assert forth["torznab_attr"] == {"name": "category", "value": "6000"}, forth
assert back["torznab_attr"] == {"name": "seeders", "value": "5"}, back
assert "c0ffee" not in str(forth) + str(back)
PYTHON
