"""What the readers of several APIs share: fields, numbers, files, what an answer wrote, paths."""
