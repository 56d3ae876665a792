"""What every page for people is made of: words for times, elements that are escaped wherever they stand, a scale of time.

Pure and without a subject of its own; nights and evidence are told with it.
"""
