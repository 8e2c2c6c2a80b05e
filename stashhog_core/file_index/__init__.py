"""The directory scan: an index of the video files in local folders."""
