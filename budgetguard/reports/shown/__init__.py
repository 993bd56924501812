"""What views show, as plain frozen data: amounts are whole numbers in a unit, times milliseconds since the epoch."""
