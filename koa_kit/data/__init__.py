"""What knees do I have, and can I trust them?"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "acquire.fetch": ["fetch_dataset"],
        "acquire.verify": ["verify_dataset"],
        "audit": ["audit_cohort"],
        "load": ["load_cohort"],
        "manifest": ["find_dataset", "load_manifest"],
        "radiograph": ["read_radiograph"],
        "sources.followup": ["load_followup", "progression", "read_oai_tables"],
    },
)
