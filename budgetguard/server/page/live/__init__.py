"""What happens now, told to whoever looks: one reader for each project, however many look."""
