"""Settings for every test."""

from hypothesis import settings

# No deadline: a test with a wall-clock limit fails on a busy machine. The same examples in every run: a failure in CI
# is the failure that its author sees.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")
