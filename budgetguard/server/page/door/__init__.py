"""Who looks: sessions that began with a key or a ticket, and what tells a form of ours from anybody else's."""
