"""The templates of ``infra/`` say what the code says."""
