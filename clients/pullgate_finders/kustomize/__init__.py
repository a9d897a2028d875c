"""Kustomizations: what they put instead of the images of their resources.

images.py     the `images` of a kustomization; also of Flux's objects
resources.py  the images of its resources, whose tags may stay
finder.py     finds in kustomizations and the patches that they name
"""
