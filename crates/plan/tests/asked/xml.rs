//! XML.

use super::Asked;

pub(crate) const QUERIES: &[Asked] = &[
    (
        "xmltable by the columns' names",
        "SELECT o.id, x.part, x.\"it's\", x.n FROM orders o, XMLTABLE('/l' PASSING XMLELEMENT(NAME l, XMLFOREST(o.status AS part, o.short AS n)) COLUMNS part text, \"it's\" text PATH 'x' DEFAULT 'none', n varchar(3)) x",
    ),
    (
        "xml names beyond the first plane!",
        "SELECT id, XMLELEMENT(NAME \"😀 x\", XMLATTRIBUTES(id AS \"ä😀\"))::text AS x FROM orders",
    ),
    (
        "xmltable of constants!",
        "SELECT x.n, x.id, x.name FROM XMLTABLE('/r/i' PASSING ('<r><i id=\"1\">a</i><i id=\"2\"/></r>'::text::xml) COLUMNS n FOR ORDINALITY, id int PATH '@id', name varchar(5) PATH 'text()' DEFAULT 'none') x",
    ),
    (
        "xmltable over rows!",
        "SELECT o.id, x.n, x.tag, x.size FROM orders o, XMLTABLE('/l/t[position() < 4]' PASSING XMLELEMENT(NAME l, XMLELEMENT(NAME t, XMLATTRIBUTES(o.id % 3 AS size), o.status), XMLELEMENT(NAME t, o.short)) COLUMNS tag text PATH '.', size numeric(6,2) PATH '@size' DEFAULT o.user_id, n FOR ORDINALITY) x",
    ),
    (
        "xmltable left joined, with a namespace",
        "SELECT u.id, x.a FROM users u LEFT JOIN LATERAL XMLTABLE(XMLNAMESPACES('http://x/' || u.id AS p), '//p:e' PASSING XMLPARSE(DOCUMENT '<e xmlns=\"http://x/1\">7</e>') COLUMNS a int PATH '.' NOT NULL) x ON true",
    ),
    (
        "xmltable grouped!",
        "SELECT x.tag, count(*) AS n FROM orders o, XMLTABLE('/l/t' PASSING XMLELEMENT(NAME l, XMLFOREST(o.status AS t, o.short AS t)) COLUMNS tag text PATH '.') x GROUP BY x.tag",
    ),
    (
        "xml expressions!",
        "SELECT id, XMLELEMENT(NAME \"a b$1\", XMLATTRIBUTES(status AS \"_x0041_\", region AS r), amount, '<&>')::text AS a, XMLFOREST(status, id AS \"an id\")::text AS b, XMLCONCAT(XMLELEMENT(NAME x), XMLPI(NAME php, status))::text AS c, XMLSERIALIZE(CONTENT XMLELEMENT(NAME y, placed) AS varchar(80)) AS d, XMLPARSE(CONTENT '<z/>' || COALESCE(short, '')) IS DOCUMENT AS e FROM orders",
    ),
    (
        "xml documents!",
        "SELECT id, XMLROOT(XMLPARSE(DOCUMENT '<a> <b/> </a>'), VERSION '1.1', STANDALONE YES)::text AS a, XMLROOT(XMLELEMENT(NAME n, id), VERSION NO VALUE, STANDALONE NO VALUE)::text AS b, XMLROOT(XMLELEMENT(NAME n, id), VERSION NO VALUE)::text AS f, XMLSERIALIZE(DOCUMENT XMLPARSE(DOCUMENT '<a> <b/> </a>' PRESERVE WHITESPACE) AS text) AS c, XMLPI(NAME p)::text AS d, xmlexists('//b' PASSING XMLPARSE(CONTENT '<b/>')) AS e FROM orders WHERE id < 4",
    ),
    (
        "xml of a subquery!",
        "SELECT o.id, (SELECT XMLELEMENT(NAME x, u.name) FROM users u WHERE u.id = o.user_id)::text AS x, (SELECT XMLSERIALIZE(CONTENT XMLFOREST(u.name) AS text) FROM users u WHERE u.id = o.region) AS y FROM orders o",
    ),
    ("xml values!", "SELECT id, XMLELEMENT(NAME n, status) AS x FROM orders"),
    (
        "xml collected!",
        "SELECT user_id, xmlagg(XMLELEMENT(NAME n, id) ORDER BY id)::text AS x FROM orders GROUP BY user_id",
    ),
];
