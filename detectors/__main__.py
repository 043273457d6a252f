"""``python -m detectors``."""

import io
import os
import sys

from detectors.cli import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding gets an escape instead of an exception.
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main(sys.argv[1:], os.environ, sys.stdout))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader, such as head, has seen enough; Python would complain once more while it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
