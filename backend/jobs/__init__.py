"""Jobs on disk, their scheduler, and the child process that runs them."""
