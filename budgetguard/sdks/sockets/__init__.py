"""What is said over WebSockets: a hold for each answer that is asked for, settled from the event that has its bill."""
