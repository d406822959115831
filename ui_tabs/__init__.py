"""The page: widgets and words. It starts jobs and reads files, and computes nothing."""
