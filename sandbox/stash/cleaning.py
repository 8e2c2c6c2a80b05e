"""The clean job: files and folders that are gone, and the scenes they leave behind."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.stash.editing import order_files
from sandbox.stash.faults import Faults
from sandbox.stash.filters import Input
from sandbox.stash.jobs import Job
from sandbox.stash.library import Library
from sandbox.stash.outputs import Outputs


class Cleaner:
    """Removes what is no longer on the disk, or outside the library's folders.

    Args:
        library: The rows.
        folders: Returns the folders of the library that are configured now.
        faults: What the job is to do wrong.
    """

    def __init__(
        self, library: Library, folders: Callable[[], Sequence[Path]], faults: Faults
    ) -> None:
        self._library = library
        self._folders = folders
        self._faults = faults
        self._outputs = Outputs(library.generated)

    def run(self, job: Job, given: Input) -> None:
        """Assess everything, then remove; a dry run only writes to the log.

        The progress of a dry run that found something ends at the share of what it
        found: the real server counts so.
        """
        self._library.log("Info", "Starting cleaning of tracked files")
        if given["dryRun"]:
            self._library.log("Info", "Running in Dry Mode")
        job.progress = None
        self._clean(job, given)
        if not job.stopped.is_set():
            self._library.log("Info", "Finished Cleaning (0s)")

    def _clean(self, job: Job, given: Input) -> None:
        below = [Path(path) for path in given.get("paths") or ()]
        files = [
            row
            for row in self._library.rows("SELECT id, path FROM files ORDER BY id")
            if _is_chosen(Path(row[1]).parent, below)
        ]
        folders = [
            path
            for path in self._library.ids("SELECT path FROM folders ORDER BY path")
            if _is_chosen(Path(str(path)), below)
        ]
        total, done = len(files) + len(folders), 0
        gone_files: list[int] = []
        gone_folders: list[str] = []
        for file_id, path in files:
            if job.stopped.is_set():
                return
            with job.sub_task(f"Assessing file {path} for clean"):
                self._faults.pause(job)
                if self._is_to_go("File", Path(path)):
                    gone_files.append(file_id)
                else:
                    done += 1
                    job.progress = done / total
        for path in folders:
            if self._is_to_go("Folder", Path(str(path))):
                gone_folders.append(str(path))
            else:
                done += 1
                job.progress = done / total
        gone = len(gone_files) + len(gone_folders)
        if given["dryRun"] and gone:
            job.progress = gone / total
            return
        with job.sub_task(f"Cleaning {gone} files and folders"):
            for file_id in gone_files:
                if job.stopped.is_set():
                    return
                self._remove(file_id)
            with self._library.transaction() as writer:
                for path in gone_folders:
                    writer.run("DELETE FROM folders WHERE path = ?", [path])
        if total:
            job.progress = 1

    def _is_to_go(self, what: str, path: Path) -> bool:
        if not path.exists():
            reason = f"{what} not found"
        elif not any(path.is_relative_to(folder) for folder in self._folders()):
            reason = f"{what} not in any stash library directories"
        else:
            return False
        self._library.log("Info", f'{reason}. Marking to clean: "{path}"')
        return True

    def _remove(self, file_id: int) -> None:
        scene_id = self._library.value(
            "SELECT scene_id FROM scenes_files WHERE file_id = ?", [file_id]
        )
        content = self._library.value(
            "SELECT value FROM fingerprints WHERE file_id = ? AND type = 'oshash'",
            [file_id],
        )
        with self._library.transaction() as writer:
            writer.run("DELETE FROM files WHERE id = ?", [file_id])
            if scene_id is None:
                return
            others = self._library.rows(
                "SELECT file_id, position FROM scenes_files WHERE scene_id = ? "
                "ORDER BY position",
                [scene_id],
            )
            if not others:
                writer.run("DELETE FROM scenes WHERE id = ?", [scene_id])
            elif others[0][1] > 0:
                # The primary file went, and the next takes its place.
                order_files(writer, scene_id, [other for other, _ in others])
                writer.update("scenes", [scene_id], {"updated_at": writer.now})
        if not others:
            self._outputs.remove(scene_id, content)


def _is_chosen(folder: Path, below: Sequence[Path]) -> bool:
    return not below or any(folder.is_relative_to(path) for path in below)
