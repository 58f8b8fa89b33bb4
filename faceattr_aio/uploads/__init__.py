"""Receive request bodies, store their pictures in temporary files and check the header of each picture."""
