"""What a request sends in, and the most that it can be billed as: texts, pictures, sound, films, files, tools."""
