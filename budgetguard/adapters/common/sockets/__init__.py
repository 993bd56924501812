"""What conversations over WebSockets have in common, whatever API they are of."""
