"""The real process against real servers, ended with SIGKILL again and again: nothing is lost, repeats say so."""
