"""What goes on after a call's answer: background responses, and batches with their files."""
