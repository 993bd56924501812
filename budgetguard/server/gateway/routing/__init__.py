"""Which upstream is asked next: what each of them did lately, and how one is chosen. No request is sent from here."""
