"""Each safeguard switched off, one at a time: does anybody notice?"""
