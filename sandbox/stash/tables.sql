-- The stand-in's library. AUTOINCREMENT: an id is never given twice. DATETIME columns
-- hold text; the type makes SQLite take a compared '2030' for a number, as it does in
-- the real server.

CREATE TABLE studios (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    parent_id INTEGER REFERENCES studios (id) ON DELETE SET NULL,
    details TEXT NOT NULL DEFAULT '',
    rating100 INTEGER,
    favorite INTEGER NOT NULL DEFAULT 0,
    ignore_auto_tag INTEGER NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX studios_by_name ON studios (name COLLATE NOCASE);

CREATE TABLE tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    sort_name TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    favorite INTEGER NOT NULL DEFAULT 0,
    ignore_auto_tag INTEGER NOT NULL DEFAULT 0,
    image TEXT NOT NULL DEFAULT '',
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX tags_by_name ON tags (name COLLATE NOCASE);
CREATE TABLE tags_relations (
    parent_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    child_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (parent_id, child_id)
) WITHOUT ROWID;
CREATE INDEX tags_relations_by_child ON tags_relations (child_id);

CREATE TABLE performers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    disambiguation TEXT NOT NULL DEFAULT '',
    gender TEXT,
    birthdate TEXT,
    death_date TEXT,
    ethnicity TEXT NOT NULL DEFAULT '',
    country TEXT NOT NULL DEFAULT '',
    eye_color TEXT NOT NULL DEFAULT '',
    hair_color TEXT NOT NULL DEFAULT '',
    height_cm INTEGER,
    weight INTEGER,
    measurements TEXT NOT NULL DEFAULT '',
    fake_tits TEXT NOT NULL DEFAULT '',
    penis_length REAL,
    circumcised TEXT,
    custom_fields TEXT NOT NULL DEFAULT '{}',
    career_length TEXT NOT NULL DEFAULT '',
    tattoos TEXT NOT NULL DEFAULT '',
    piercings TEXT NOT NULL DEFAULT '',
    details TEXT NOT NULL DEFAULT '',
    rating100 INTEGER,
    favorite INTEGER NOT NULL DEFAULT 0,
    ignore_auto_tag INTEGER NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE INDEX performers_by_name ON performers (name COLLATE NOCASE);

CREATE TABLE scenes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    details TEXT NOT NULL DEFAULT '',
    director TEXT NOT NULL DEFAULT '',
    date TEXT,
    rating INTEGER,
    organized INTEGER NOT NULL DEFAULT 0,
    studio_id INTEGER REFERENCES studios (id) ON DELETE SET NULL,
    resume_time REAL NOT NULL DEFAULT 0,
    play_duration REAL NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE INDEX scenes_by_studio ON scenes (studio_id);

CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    basename TEXT NOT NULL,
    size INTEGER NOT NULL,
    mod_time DATETIME NOT NULL,
    duration REAL NOT NULL,
    format TEXT NOT NULL,
    video_codec TEXT NOT NULL,
    audio_codec TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    frame_rate REAL NOT NULL,
    bit_rate INTEGER NOT NULL,
    interactive INTEGER NOT NULL DEFAULT 0,
    interactive_speed INTEGER,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
-- Folders that were walked: a file by itself is taken only if its folder is known.
CREATE TABLE folders (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE fingerprints (
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (file_id, type)
) WITHOUT ROWID;
CREATE INDEX fingerprints_by_value ON fingerprints (value, type);
CREATE TABLE captions (
    file_id INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    language_code TEXT NOT NULL,
    caption_type TEXT NOT NULL,
    filename TEXT NOT NULL,
    PRIMARY KEY (file_id, language_code, caption_type)
) WITHOUT ROWID;

CREATE TABLE scenes_files (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    file_id INTEGER NOT NULL UNIQUE REFERENCES files (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    PRIMARY KEY (scene_id, position)
) WITHOUT ROWID;
CREATE TABLE scenes_tags (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (scene_id, tag_id)
) WITHOUT ROWID;
CREATE INDEX scenes_tags_by_tag ON scenes_tags (tag_id);
CREATE TABLE performers_scenes (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    performer_id INTEGER NOT NULL REFERENCES performers (id) ON DELETE CASCADE,
    PRIMARY KEY (scene_id, performer_id)
) WITHOUT ROWID;
CREATE INDEX performers_scenes_by_performer ON performers_scenes (performer_id);
CREATE TABLE scenes_plays (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    at TEXT NOT NULL
);
CREATE INDEX scenes_plays_by_scene ON scenes_plays (scene_id);
CREATE TABLE scenes_o (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    at TEXT NOT NULL
);
CREATE INDEX scenes_o_by_scene ON scenes_o (scene_id);

-- A cover counts as there when this says so; its picture lies under generated/.
CREATE TABLE covers (
    scene_id INTEGER PRIMARY KEY REFERENCES scenes (id) ON DELETE CASCADE
);

CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE TABLE groups_scenes (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    scene_index INTEGER,
    PRIMARY KEY (scene_id, group_id)
) WITHOUT ROWID;
CREATE TABLE galleries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL DEFAULT '',
    folder TEXT,
    archive TEXT,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE TABLE scenes_galleries (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    gallery_id INTEGER NOT NULL REFERENCES galleries (id) ON DELETE CASCADE,
    PRIMARY KEY (scene_id, gallery_id)
) WITHOUT ROWID;

CREATE TABLE scene_markers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    seconds REAL NOT NULL,
    end_seconds REAL,
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    primary_tag_id INTEGER NOT NULL REFERENCES tags (id),
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE INDEX scene_markers_by_scene ON scene_markers (scene_id);
CREATE INDEX scene_markers_by_primary_tag ON scene_markers (primary_tag_id);
CREATE TABLE scene_markers_tags (
    scene_marker_id INTEGER NOT NULL REFERENCES scene_markers (id) ON DELETE CASCADE,
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (scene_marker_id, tag_id)
) WITHOUT ROWID;

-- One shape for the lists that scenes, tags, performers and studios have alike.

CREATE TABLE scene_urls (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (scene_id, position)
) WITHOUT ROWID;
CREATE TABLE performer_urls (
    performer_id INTEGER NOT NULL REFERENCES performers (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (performer_id, position)
) WITHOUT ROWID;
CREATE TABLE studio_urls (
    studio_id INTEGER NOT NULL REFERENCES studios (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (studio_id, position)
) WITHOUT ROWID;

CREATE TABLE tag_aliases (
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    alias TEXT NOT NULL UNIQUE
);
CREATE INDEX tag_aliases_by_tag ON tag_aliases (tag_id);
CREATE TABLE performer_aliases (
    performer_id INTEGER NOT NULL REFERENCES performers (id) ON DELETE CASCADE,
    alias TEXT NOT NULL,
    PRIMARY KEY (performer_id, alias)
) WITHOUT ROWID;
CREATE TABLE studio_aliases (
    studio_id INTEGER NOT NULL REFERENCES studios (id) ON DELETE CASCADE,
    alias TEXT NOT NULL UNIQUE
);
CREATE INDEX studio_aliases_by_studio ON studio_aliases (studio_id);

CREATE TABLE performers_tags (
    performer_id INTEGER NOT NULL REFERENCES performers (id) ON DELETE CASCADE,
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (performer_id, tag_id)
) WITHOUT ROWID;
CREATE TABLE studios_tags (
    studio_id INTEGER NOT NULL REFERENCES studios (id) ON DELETE CASCADE,
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    PRIMARY KEY (studio_id, tag_id)
) WITHOUT ROWID;

CREATE TABLE scene_stash_ids (
    scene_id INTEGER NOT NULL REFERENCES scenes (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    stash_id TEXT NOT NULL,
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (scene_id, endpoint, stash_id)
) WITHOUT ROWID;
CREATE TABLE tag_stash_ids (
    tag_id INTEGER NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    stash_id TEXT NOT NULL,
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (tag_id, endpoint, stash_id)
) WITHOUT ROWID;
CREATE TABLE performer_stash_ids (
    performer_id INTEGER NOT NULL REFERENCES performers (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    stash_id TEXT NOT NULL,
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (performer_id, endpoint, stash_id)
) WITHOUT ROWID;
CREATE TABLE studio_stash_ids (
    studio_id INTEGER NOT NULL REFERENCES studios (id) ON DELETE CASCADE,
    endpoint TEXT NOT NULL,
    stash_id TEXT NOT NULL,
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (studio_id, endpoint, stash_id)
) WITHOUT ROWID;
