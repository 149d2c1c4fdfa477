import { shape } from '../shape.js'
import * as entities from './entities.js'

process.stdout.write(JSON.stringify(shape(entities)))
