"""Calls that do not say whose they are: found, and said or refused with the line of the program that makes them."""
