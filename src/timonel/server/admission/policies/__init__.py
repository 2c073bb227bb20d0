"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules in CEL that refuse or change writes.

source (policies with their bindings) → invocations (those that a call is for, with their parameters) → validating,
mutating (the plugins) ← decisions, patches (what the expressions say). See docs/design/admission.md.
"""
