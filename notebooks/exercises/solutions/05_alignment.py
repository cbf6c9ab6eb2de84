"""Solution of exercise 5."""

import torch.nn.functional as F


def dfa_loss(clean_logits, adversarial_logits):
    # Eq. (6)
    log_p, log_q = clean_logits.log_softmax(1), adversarial_logits.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def adv_dpnp_loss(terms, lambda_dpp, lambda_dnp, lambda_dfa):
    # Eq. (7)
    clean = terms["ce_clean"] + lambda_dpp * terms["pull_clean"]
    adversarial = terms["ce_adv"] + lambda_dpp * terms["pull_adv"]
    return lambda_dnp * terms["dnp"] + (clean + adversarial + lambda_dfa * terms["dfa"]) / 2


def trades_loss(clean_logits, adversarial_logits, labels, beta):
    return F.cross_entropy(clean_logits, labels) + beta * dfa_loss(clean_logits, adversarial_logits)
