"""A server: images in, labels out, over HTTP. Needs the extra `[serve]`; never PyTorch. docs/serving.md shows its use.

    squeezenet serve imagenet birds.sqz
    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/models/birds/classify

Limits and shares are in `settings`, so that each stands beside its unit.
"""
