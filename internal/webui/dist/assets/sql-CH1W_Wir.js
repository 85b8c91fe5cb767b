import{c as e,o as t}from"./index-6GXc8aIA.js";var n=[{name:`query.ex.loss`,sql:`SELECT reason, verdict, sum(packets) AS packets
FROM drops
WHERE verdict <> 'benign' AND time > now() - INTERVAL 1 HOUR
GROUP BY ALL ORDER BY packets DESC LIMIT 20`},{name:`query.ex.talkers`,sql:`SELECT comm, dst_addr, sum(host_bytes) AS bytes
FROM flows
WHERE time > now() - INTERVAL 1 HOUR
GROUP BY ALL ORDER BY bytes DESC LIMIT 20`},{name:`query.ex.minutes`,sql:`SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, sum(host_bytes) AS bytes
FROM flows
WHERE time > now() - INTERVAL 1 HOUR
GROUP BY minute ORDER BY minute`},{name:`query.ex.slow`,sql:`SELECT host_name, path, sum(requests) AS requests, max(latency_us) AS slowest_us
FROM requests
WHERE time > now() - INTERVAL 1 HOUR
GROUP BY ALL ORDER BY slowest_us DESC LIMIT 20`},{name:`query.ex.refused`,sql:`SELECT error, dst_addr, dst_port, comm, sum(failed) AS failures
FROM conns
WHERE error IS NOT NULL AND time > now() - INTERVAL 1 HOUR
GROUP BY ALL ORDER BY failures DESC LIMIT 20`},{name:`query.ex.retransmits`,sql:`SELECT comm, dst_addr, sum(retransmits) AS again, sum(packets_out) AS sent
FROM flows
WHERE time > now() - INTERVAL 1 HOUR
GROUP BY ALL HAVING again > 0 ORDER BY again DESC LIMIT 20`},{name:`query.ex.dns`,sql:`SELECT qname, comm, sum(queries) AS questions
FROM queries
WHERE rcode = 'NXDOMAIN' AND time > now() - INTERVAL 1 HOUR
GROUP BY ALL ORDER BY questions DESC LIMIT 20`},{name:`query.ex.spoilt`,sql:`SELECT place, reason, sum(count) AS count, any_value(effect) AS effect
FROM lost
WHERE time > now() - INTERVAL 1 DAY
GROUP BY ALL ORDER BY count DESC`}],r=e=>`'${e.replaceAll(`'`,`''`)}'`;function i(e){let t=/^([a-z][a-z0-9_]*)(!?)=(.*)$/s.exec(e);if(!t)return`true`;let[,n=``,i=``,a=``]=t,o=a.split(`|`).map(e=>{if(e===``)return`${n} IS NULL`;if(!e.includes(`*`))return`${n} = ${r(e)}`;let t=e.replace(/[\\%_]/g,`\\$&`).replaceAll(`*`,`%`);return`CAST(${n} AS VARCHAR) LIKE ${r(t)} ESCAPE '\\'`});return i?`(${o.join(` OR `)}) IS NOT TRUE`:`(${o.join(` OR `)})`}function a(n,a,o,s,c,l){let u=n=>`TIMESTAMP ${r(e(Math.floor(t(n,c)??c)).replace(`T`,` `).replace(`Z`,``))}`;return`SELECT * FROM ${n} WHERE ${[`time >= ${u(o.since)}`,`time < ${u(o.until)}`,`${a} IS NOT NULL`,...s.map(i)].join(` AND `)} ORDER BY ${a} DESC LIMIT ${l}`}var o=e=>/^(u?int|float|double|decimal|hugeint|u?bigint|smallint|tinyint|integer)/i.test(e.type),s=e=>/^(time|timestamp|date)/i.test(e.type);function c(e){let t=e.columns[0];if(!t||!s(t)||e.rows.length<2)return null;let n=e.columns.map((e,t)=>({c:e,i:t})).filter(({c:e,i:t})=>t>0&&o(e));if(n.length===0)return null;let r=e.rows.map(e=>({row:e,time:typeof e[0]==`number`?e[0]:Date.parse(String(e[0]))/1e3})).filter(e=>!Number.isNaN(e.time)).sort((e,t)=>e.time-t.time);return{times:r.map(e=>e.time),lines:n.map(({c:e,i:t})=>({label:e.name,values:r.map(({row:e})=>e[t]===null||e[t]===void 0?null:Number(e[t]))}))}}export{n,a as r,c as t};