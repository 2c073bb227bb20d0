"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers of others that have a say in every write.

hooks (which there are, from the configurations) → review (what they are asked, what they may answer) → dispatch (the
call) → mutating, validating (the plugins). See docs/design/admission.md.
"""
