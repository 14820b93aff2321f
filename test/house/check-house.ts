// npm run check:house. Checks that the code stands as ARCHITECTURE.md says (the rules: house-plan.ts), prints the
// floors, and every violation as one line "file:line: what is wrong; what would be right". Exit code 1 if there is one.
import { resolve } from 'node:path';
import { checkCircles } from './check-circles.ts';
import { checkDirections } from './check-directions.ts';
import { checkFloors, findFloors, printFloors } from './check-floors.ts';
import { checkNames, warnings } from './check-names.ts';
import { readHouse } from './read-house.ts';

const root = resolve(process.argv[2] ?? '.');
const files = readHouse(root);
const violations = [checkDirections, checkCircles, checkFloors, checkNames].flatMap((check) => check(files));

console.log(printFloors(findFloors(files)));
for (const warning of warnings(files)) console.log(`warning: ${warning}`);
for (const { file, line, message } of violations) console.error(`${file}:${line}: ${message}`);
console.log(`house: ${files.length} files, ${violations.length} violations`);
// A wrong folder must not look like a house in order.
if (files.length === 0) console.error(`No TypeScript found under ${root}.`);
process.exitCode = violations.length > 0 || files.length === 0 ? 1 : 0;
