"""What the sandbox holds: its workspace, jobs and logs."""
