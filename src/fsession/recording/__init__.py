"""Recordings: the records of a trace in a file, with all that is needed to read them anywhere."""

from fsession.recording.reader import Recording, is_recording
from fsession.recording.writer import RecordingWriter

__all__ = ["Recording", "RecordingWriter", "is_recording"]
