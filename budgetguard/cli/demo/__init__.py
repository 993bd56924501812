"""`demo`: a program that uses the SDK in every way, under budgets."""
