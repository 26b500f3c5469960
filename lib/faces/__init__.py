"""Rendered faces: heads that know their own truth, and the door for other people's faces.

A head is built once and rendered from any viewpoint under any light:

>>> from lib.faces.head import build_head
>>> from lib.faces.identity import sample_identity
>>> from lib.faces.render import render_head
>>> head = build_head(sample_identity(7))
>>> picture = render_head(head, yaw=30, size=224)

Conventions: lengths in decimetres, x towards the subject's left, y up, z out of the face; angles in
degrees; positive yaw turns the nose towards the right edge of the picture (the subject's left).
"Left" and "right" are always the subject's.
"""
