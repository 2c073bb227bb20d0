"""Kubernetes' function libraries (facts from apiserver's library tests)."""

from __future__ import annotations

from typing import Any

import pytest

from timonel.machinery.cel import KUBERNETES, MUTATION, Environment, EvaluationError, types
from timonel.machinery.cel.library import authz

ENVIRONMENT = Environment(
    {"d": types.DYN, "authorizer": authz.AUTHORIZER, "check": authz.RESOURCE_CHECK}, libraries=MUTATION
)


def evaluate(text: str, **values: Any) -> Any:
    return ENVIRONMENT.compile(text).evaluate({"d": None, **values})


HOLD = """
[1, 2, 2].isSorted() && ![2, 1].isSorted() && ['a', 'b'].isSorted() && [].isSorted()
[1, 2].sum() == 3 && [1.5, 2.0].sum() == 3.5 && [1u].sum() == 1u
[duration('1m'), duration('1s')].sum() == duration('61s')
[3, 1].min() == 1 && ['a', 'c', 'b'].max() == 'c'
[timestamp('2026-01-01T00:00:00Z')].max().getFullYear() == 2026
[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(9) == -1
[1, 2, 3].slice(1, 3) == [2, 3] && [1, 2, 2].distinct() == [1, 2]
[1, 2].reverse() == [2, 1] && [3, 1].sort() == [1, 3]
[[1], [2]].flatten() == [1, 2] && lists.range(3) == [0, 1, 2] && ['bb', 'a'].sortBy(s, size(s)) == ['a', 'bb']
'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == '' && 'a1b22'.findAll('[0-9]+') == ['1', '22']
'a1b22c3'.findAll('[0-9]+', 2) == ['1', '22']
'123 abc 456'.findAll('[0-9]*') == ['123', '', '', '', '', '456']
'AbC'.lowerAscii() == 'abc' && 'AbÉ'.upperAscii() == 'ABÉ' && ' x\\t'.trim() == 'x'
'hello'.charAt(4) == 'o' && 'hello'.charAt(5) == ''
'hello'.substring(3) == 'lo' && 'hello'.substring(1, 3) == 'el'
'hello'.indexOf('l') == 2 && 'hello'.indexOf('l', 3) == 3
'hello'.lastIndexOf('l') == 3 && 'hello'.indexOf('') == 0
'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']
'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'ab'.replace('', '-') == '-a-b-'
['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join(',') == ''
'%s %d %.2f %x %X'.format([dyn('a'), 5, 1.5, 255, 'k']) == 'a 5 1.50 ff 6B'
'%b %o %e %%'.format([dyn(true), 8, 1234.5]) == '1 10 1.234500e+03 %'
'%s'.format([dyn([1, 2])]) == '[1, 2]' && '%s'.format([dyn({'b': dyn(1), 'a': null})]) == '{a: null, b: 1}'
strings.quote('a"\\n\\\\') == '"a\\\\"\\\\n\\\\\\\\"'
sets.contains([1, 2], [2, 2]) && !sets.contains([1], [2])
sets.equivalent([1, 1, 2], [2, 1]) && sets.intersects([1], [1, 2])
quantity('1Gi').compareTo(quantity('1024Mi')) == 0
quantity('50k').add(20) == quantity('50020') && quantity('-1').sign() == -1
quantity('1.5Gi').asInteger() == 1610612736 && !quantity('100m').isInteger()
quantity('100m').asApproximateFloat() == 0.1
quantity('2').isGreaterThan(quantity('1900m')) && quantity('1').isLessThan(quantity('2'))
quantity('2').sub(quantity('500m')) == quantity('1.5')
isQuantity('1.3Ki') && !isQuantity('1Mo') && !isQuantity('ten')
url('https://a.com:80/p?k=1&k=2').getScheme() == 'https' && url('https://a.com:80/p').getHost() == 'a.com:80'
url('https://[::1]:80/').getHostname() == '::1'
url('https://a.com:80/p').getPort() == '80' && url('/p/a').getScheme() == ''
url('https://a.com/with space').getEscapedPath() == '/with%20space'
url('/p?k=1&k=2').getQuery()['k'] == ['1', '2']
isURL('https://a.com') && isURL('/absolute/path')
!isURL('relative/path') && !isURL('../p') && !isURL('https://a:b:c/')
isIP('127.0.0.1') && isIP('::1') && !isIP('127.0.0.256')
!isIP('01.2.3.4') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0')
ip('127.0.0.1').family() == 4 && ip('::1').family() == 6
ip('::1').isLoopback() && ip('0.0.0.0').isUnspecified()
ip('224.0.0.1').isLinkLocalMulticast()
ip('169.254.1.1').isLinkLocalUnicast() && ip('10.0.0.1').isGlobalUnicast()
ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')
string(ip('2001:DB8::1')) == '2001:db8::1'
cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1')
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/7'))
cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24') && cidr('192.168.0.1/24').prefixLength() == 24
string(cidr('192.168.0.1/24').ip()) == '192.168.0.1'
string(cidr('192.168.0.1/24')) == '192.168.0.1/24' && !isCIDR('1.2.3.4/33')
semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3
semver('1.2.3-beta.1').isLessThan(semver('1.2.3')) && semver('1.2.3-2').isLessThan(semver('1.2.3-10'))
semver('v01.01', true) == semver('1.1.0') && isSemver('1', true)
!isSemver('1.2') && !isSemver('v1.0.0') && !isSemver(' 1.0.0', true)
semver('1.0.0').compareTo(semver('1.2.3')) == -1 && semver('1.2.3').isGreaterThan(semver('1.0.0'))
!format.dns1123Label().validate('web-1').hasValue() && format.dns1123Label().validate('Web').hasValue()
format.named('uuid').value().validate('x').value() == ['does not match the UUID format']
!format.named('none').hasValue()
!format.dns1123LabelPrefix().validate('web-').hasValue() && format.dns1123Label().validate('web-').hasValue()
!format.date().validate('2026-01-31').hasValue() && format.date().validate('2026-02-31').hasValue()
!format.byte().validate('aGVsbG8=').hasValue()
format.datetime().validate('today').value() == ['invalid datetime']
jsonpatch.escapeKey('k8s.io/a~b') == 'k8s.io~1a~0b'
JSONPatch{op: 'add', path: '/a', value: [1]}.path == '/a' && type(JSONPatch{op: 'test'}.op) == string
type(quantity('1')) == kubernetes.Quantity && type(ip('::1')) == net.IP
""".strip().splitlines()


@pytest.mark.parametrize("text", HOLD)
def test_it_holds(text: str) -> None:
    assert evaluate(text) is True


FAIL = [
    ("[].min()", "min called on empty list"),
    ("[].max()", "max called on empty list"),
    ("[1, 2].slice(2, 1)", "cannot slice(2, 1), start index must be less than or equal to end index"),
    ("'abc'.charAt(4)", "index out of range: 4"),
    ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
    ("'abc'.substring(9)", "index out of range: 9"),
    (
        "quantity('10 Mo')",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    ("quantity('100m').asInteger()", "cannot convert value to integer"),
    ("semver('v1.0')", "No Major.Minor.Patch elements found"),
    ("ip('fe80::1%eth0')", 'IP address "fe80::1%eth0" with zone value is not allowed'),
    ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
    ("'a'.matches(d)", "error parsing regexp: missing closing ]: `[`"),
    ("lists.range(10000000).size()", "operation cancelled: actual cost limit exceeded"),
]


@pytest.mark.parametrize(("text", "message"), FAIL)
def test_it_fails_as_upstream_says(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as failure:
        evaluate(text, d="[")
    assert str(failure.value) == message


def test_the_authorizer_is_asked_the_finished_question() -> None:
    asked: list[authz.Question] = []

    def answers(question: authz.Question) -> authz.Answer:
        asked.append(question)
        return authz.Answer(
            question.verb == "get", reason="because", error="" if question.verb == "get" else "broken"
        )

    value = authz.AuthorizerValue(answers)
    rule = (
        "authorizer.serviceAccount('ns', 'sa').group('apps').resource('deployments').subresource('scale')"
        ".namespace('n').name('x').fieldSelector('a=b').labelSelector('c=d').check('get').allowed()"
    )
    assert evaluate(rule, authorizer=value) is True
    assert evaluate("authorizer.path('/healthz').check('post').errored()", authorizer=value) is True
    assert evaluate("authorizer.path('/healthz').check('post').error() == 'broken'", authorizer=value) is True
    assert (
        evaluate("authorizer.group('').resource('pods').check('get').reason() == 'because'", authorizer=value)
        is True
    )
    assert asked[0] == authz.Question(
        "get",
        group="apps",
        resource="deployments",
        subresource="scale",
        namespace="n",
        name="x",
        field_selector="a=b",
        label_selector="c=d",
        service_account=("ns", "sa"),
    )
    assert asked[1] == authz.Question("post", path="/healthz")
    with pytest.raises(EvaluationError, match="path must not be empty"):
        evaluate("authorizer.path('').check('get').allowed()", authorizer=value)


def test_two_checks_and_no_more_fit_into_one_call() -> None:
    value = authz.AuthorizerValue(lambda question: authz.Answer(True))
    check = "authorizer.path('/a').check('get').allowed()"

    assert evaluate(f"{check} && {check}", authorizer=value) is True
    with pytest.raises(EvaluationError, match="operation cancelled: actual cost limit exceeded"):
        evaluate(f"{check} && {check} && {check}", authorizer=value)


def test_all_libraries_declare_distinct_overloads() -> None:
    from timonel.machinery.cel.environment import _table

    ids = [one.id for those in _table(KUBERNETES | MUTATION).values() for one in those]
    assert len(ids) == len(set(ids))
