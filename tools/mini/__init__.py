"""Making the small backbones of the demo: `python -m tools.mini`.

A TIPS and a CLIP, trained from nothing on generated pairs of pictures and sentences, on kinds of things and
of defects that no stand-in dataset shows. What comes out lies in `methods/backbones/mini/`;
`python -m tools.mini.report` measures what it reaches.
"""
